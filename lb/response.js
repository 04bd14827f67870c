// What some settings do to a target's response: only loaded where one of them is set.

// app_cookie: four shards, where the target sets the application's cookie or the client came with both.
function filter(r) {
    const v = r.variables, set = r.headersOut['Set-Cookie'] || [];
    const sets = line => line.split('=')[0].trim() === v.alb_cookie_name;
    if (!v.alb_cookie || (v.alb_had !== '1' && !set.some(sets))) {
        return;
    }
    const chromium = /Chrom(?:e|ium)\/(\d{1,4})/.exec(v.http_user_agent || '');
    const tail = chromium && Number(chromium[1]) >= 80 ? '; SameSite=None; Secure' : '';
    const value = v.alb_cookie.split(';')[0], rest = v.alb_cookie.slice(value.length) + tail;
    r.headersOut['Set-Cookie'] = set.concat([0, 1, 2, 3].map(n => 'AWSALBAPP-' + n + '=' + (n ? '_remove_' : value) + rest));
}

// The end of a deregistration delay where sockets cannot be shut from outside: a stream ends at its next chunk.
function chunk(r, data, flags) {
    const cut = ngx.shared.alb_table.get('cut ' + r.variables.alb_id);
    if (cut > r.variables.alb_created) {
        throw new Error('the deregistration delay of ' + r.variables.alb_id + ' is over');
    }
    r.sendBuffer(data, flags);
}

export default { filter, chunk };
