// The data plane's decisions: one call a request (`route`), one when it is over (`done`).
//
// Everything that may change without a reload comes from three shared dictionaries, written by control.js:
//
//   alb_table    "sticky"    "<mode> <nodes> <version>\n" and a line "<node> <version><key in hex> <id> <address>" for
//                            each target that a valid cookie still reaches. mode: 0 off, 1 lb_cookie, 2 app_cookie;
//                            version: 4 digits, another one where stickiness or target group are others
//                "choice<n>" "<algorithm> <slow start, ms> <published at, ms>\n" and a line "<id> <address> <age, ms>"
//                            for each target that node n may choose; the age is -1 outside of slow start
//                "secret"    JSON: what it takes to open and to seal a cookie
//   alb_counts   b<key> requests begun, e<key> ended, n<node> routed without a cookie, t<node> turns, a<node> connections;
//                x<key>#<status>#<kind> those not answered with 200. key: "<node>|<target id>"
//   alb_cookies  cookie -> "<version><key in hex>", for cookies opened or made here; what is known of another version is
//                opened again. "<version><target id>#<n>" -> a sealed cookie
//
// `route` answers with one string, which a regular expression in nginx.conf takes apart: cheaper than one variable
// for each part. An interpreter starts for every request and runs the top level of this file, so that is kept short,
// and cryptography is left to the requests that need it. Written in what njs 0.8 and QuickJS both understand.

// Sealed cookies that are handed out again: above so many requests to a target within `keep_ms` they come round. Sealing
// one costs 70 % of all the rest of a request.
const COOKIES_KEPT = 32;

function route(r) {
    const sticky = ngx.shared.alb_table.get('sticky');
    if (sticky === undefined) {
        return nowhere();
    }
    const v = r.variables;
    const nodes = sticky.charCodeAt(2) - 48;
    const number = v.connection;
    let accepted = ngx.shared.alb_connections.get(number);
    if (accepted === undefined) { // connections go round the nodes
        accepted = ngx.shared.alb_counts.incr('accepted', 1, 0) - 1;
        ngx.shared.alb_connections.set(number, accepted);
        ngx.shared.alb_counts.incr('a' + accepted % nodes, 1, 0);
    }
    const node = accepted % nodes;
    let row = '', had = 0;
    if (sticky[0] !== '0') {
        const cookie = sticky[0] === '1' ? lbCookie(v) : appCookie(v);
        if (cookie !== undefined) {
            const known = ngx.shared.alb_cookies.get(cookie);
            row = known === undefined ? '' : stuck(sticky, node, known);
            if (row === '' && (known === undefined || !known.startsWith(sticky.slice(4, 8)))) {
                return opened(r, sticky, node, cookie);
            }
            had = 1;
        }
    }
    return dispatched(r, sticky, node, row, had);
}

// Called when the request is over, from the log's first field that needs it. Counts, and says what time it is.
function done(r) {
    const counts = ngx.shared.alb_counts, key = r.variables.alb_key;
    if (key) {
        counts.incr('e' + key, 1, 0);
    }
    if (r.status !== 200 || !key) {
        const v = r.variables, answered = v.upstream_header_time;
        const kind = answered !== undefined && answered !== '-' ? 't' : v.upstream_connect_time === '-' ? 'c' : 'e';
        counts.incr('x' + (key || '0|') + '#' + (v.status === '499' ? '460' : v.status) + '#' + kind, 1, 0);
    }
    return new Date().toISOString().slice(0, 23) + '000Z';
}

// Why a target has not answered: its delay has ended, or it closed by itself.
function failure(r) {
    const cut = ngx.shared.alb_table.get('cut ' + r.variables.alb_id);
    return cut > r.variables.alb_created ? 'DeregistrationDelayElapsed' : 'TargetClosedConnection';
}

function lbCookie(v) {
    let cookie = v.cookie_AWSALB;
    if (cookie === undefined) {
        cookie = v.cookie_AWSALBCORS;
    }
    return cookie !== undefined && cookie.length === 124 ? cookie : undefined;
}

function appCookie(v) {
    const cookie = v['cookie_AWSALBAPP-0'];
    if (cookie === undefined || cookie.length !== 144) {
        return undefined;
    }
    const name = JSON.parse(ngx.shared.alb_table.get('secret')).cookie_name;
    return v['cookie_' + name] === undefined ? undefined : cookie;
}

// The target a valid cookie names, if this node still lets the cookie reach it: "<id> <address>", or nothing.
function stuck(sticky, node, known) {
    const line = '\n' + node + ' ' + known + ' ';
    const at = sticky.indexOf(line);
    return at < 0 ? '' : sticky.slice(at + line.length, sticky.indexOf('\n', at + 1));
}

function nowhere() {
    const now = Date.now();
    return '- - ' + new Date(now).toISOString().slice(0, 23) + ' ' + Math.floor(now / 1000).toString(16) + ' 0 ';
}

// Count the request and give it a cookie for its response. A string, or the promise of `sealed` to set it.
function dispatched(r, sticky, node, row, had) {
    const counts = ngx.shared.alb_counts;
    if (row === '') {
        if (sticky[0] !== '0') {
            counts.incr('n' + node, 1, 0);
        }
        row = chosen(node);
        if (row === '') {
            return nowhere();
        }
    }
    const id = row.slice(0, row.indexOf(' ')), key = node + '|' + id;
    const begun = counts.incr('b' + key, 1, 0);
    const now = Date.now();
    const head = node + '|' + row + ' ' + new Date(now).toISOString().slice(0, 23) + ' '
        + Math.floor(now / 1000).toString(16) + ' ' + had + ' ';
    if (sticky[0] === '0') {
        return head;
    }
    const nodes = sticky.charCodeAt(2) - 48; // they share a target's cookies, and never take the same one in turn
    const place = sticky.slice(4, 8) + id + '#' + (begun * nodes + node) % COOKIES_KEPT;
    const cookie = ngx.shared.alb_cookies.get(place);
    return cookie === undefined ? sealed(r, head, id, place, now) : head + cookie;
}

// The target group's algorithm, as rollproof/core/routing.py has it. "<id> <address>", or nothing.
function chosen(node) {
    const text = ngx.shared.alb_table.get('choice' + node);
    if (!text) {
        return '';
    }
    const counts = ngx.shared.alb_counts;
    const rows = text.split('\n'), head = rows.shift().split(' ');
    const turn = counts.incr('t' + node, 1, 0) - 1;
    const bare = row => row.slice(0, row.lastIndexOf(' '));
    const ramp = row => {
        const age = Number(row.slice(row.lastIndexOf(' ') + 1));
        return age < 0 ? 1 : Math.min(1, (age + Date.now() - Number(head[2])) / Number(head[1]));
    };
    if (head[0] === 'round_robin') {
        const row = rows[turn % rows.length];
        if (head[1] === '0' || Math.random() < ramp(row)) {
            return bare(row);
        }
        const full = rows.filter(other => other.endsWith(' -1'));
        return bare(full[Math.floor(turn / rows.length) % full.length]);
    }
    if (head[0] === 'least_outstanding_requests') {
        const outstanding = rows.map(row => {
            const key = node + '|' + row.slice(0, row.indexOf(' '));
            return (counts.get('b' + key) || 0) - (counts.get('e' + key) || 0);
        });
        const fewest = Math.min.apply(null, outstanding);
        const equals = rows.filter((_, at) => outstanding[at] === fewest);
        return bare(equals[turn % equals.length]);
    }
    const weights = rows.map(ramp);
    let rest = Math.random() * weights.reduce((sum, weight) => sum + weight, 0);
    const at = weights.findIndex(weight => (rest -= weight) < 0);
    return bare(rows[at < 0 ? rows.length - 1 : at]);
}

// A cookie not seen before: open it (AES-GCM), remember what it says for as long as it counts, and route.
// The plaintext is laid out as in rollproof/core/stickiness.py.
async function opened(r, sticky, node, cookie) {
    const secret = JSON.parse(ngx.shared.alb_table.get('secret'));
    const raw = Buffer.from(cookie, 'base64'), start = secret.prefix;
    let row = '', had = 0;
    try {
        const key = await crypto.subtle.importKey('raw', Buffer.from(secret.key, 'hex'), { name: 'AES-GCM' }, false, ['decrypt']);
        const iv = raw.subarray(start, start + 12), additionalData = Buffer.from(secret.context, 'hex');
        const opening = { name: 'AES-GCM', iv: iv, additionalData: additionalData, tagLength: 128 };
        const bytes = await crypto.subtle.decrypt(opening, key, raw.subarray(start + 12));
        const plain = Buffer.from(bytes);
        const left = plain.readDoubleBE(1) * 1000 - Date.now();
        if (plain[0] === 1 && left > 0) {
            const name = sticky.slice(4, 8) + plain.subarray(10, 10 + plain[9]).toString('hex');
            ngx.shared.alb_cookies.set(cookie, name, Math.ceil(Math.min(left, 3600000)));
            had = 1;
            row = stuck(sticky, node, name);
        }
    } catch (e) {
        await 0; // tampered with, or of another key or group: as if there were none
    }
    const answer = dispatched(r, sticky, node, row, had);
    if (typeof answer === 'string') {
        r.setReturnValue(answer);
    }
}

// Seal a new cookie for the target `id`, and keep it at `place` for other responses of the next moment.
async function sealed(r, head, id, place, now) {
    const secret = JSON.parse(ngx.shared.alb_table.get('secret'));
    const imported = await crypto.subtle.importKey('raw', Buffer.from(secret.key, 'hex'), { name: 'AES-GCM' }, false, ['encrypt']);
    const digest = secret.names[id];
    const name = digest === undefined ? Buffer.from(id) : Buffer.from(digest, 'hex');
    const plain = Buffer.alloc(secret.size);
    plain[0] = 1;
    plain.writeDoubleBE((now + secret.duration_ms) / 1000, 1);
    plain[9] = name.length;
    name.copy(plain, 10);
    const iv = Buffer.alloc(12);
    crypto.getRandomValues(iv);
    const sealing = { name: 'AES-GCM', iv: iv, additionalData: Buffer.from(secret.context, 'hex'), tagLength: 128 };
    const box = await crypto.subtle.encrypt(sealing, imported, plain);
    const value = Buffer.concat([Buffer.alloc(secret.prefix), iv, Buffer.from(box)]).toString('base64');
    const cookie = value + '; Expires=' + new Date(now + 7 * 86400000).toUTCString() + '; Path=/';
    ngx.shared.alb_cookies.set(value, place.slice(0, 4) + name.toString('hex'), Math.ceil(Math.min(secret.duration_ms, 3600000)));
    if (secret.keep_ms >= 1) {
        ngx.shared.alb_cookies.set(place, cookie, Math.floor(secret.keep_ms));
    }
    r.setReturnValue(head + cookie);
}

export default { route, done, failure };
