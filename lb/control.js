// What the agent tells and asks, on a socket of its own. Everything was checked by the agent.
//
//   PUT  /state   {"table": {"sticky": ..., "choice0": ..., "secret": ...}}: takes effect with the next request
//   GET  /counts  the numbers of alb_counts, and how many connections are open
//   POST /settle  a worker died, and the requests it had with it: none is outstanding
//   POST /cut     {"target": id}: its deregistration delay is over

function answer(r) {
    const table = ngx.shared.alb_table, counts = ngx.shared.alb_counts;
    const asked = r.method + ' ' + r.uri;
    if (asked === 'PUT /state') {
        const wanted = JSON.parse(r.requestText).table;
        Object.keys(wanted).sort().forEach(name => table.set(name, wanted[name])); // choice, secret, then sticky
        table.keys().forEach(name => {
            if (name.startsWith('choice') && wanted[name] === undefined) {
                table.delete(name);
            }
        });
        return r.return(204);
    }
    if (asked === 'GET /counts') {
        const found = {};
        counts.items(1000000).forEach(pair => { found[pair[0]] = pair[1]; });
        return r.return(200, JSON.stringify({ counts: found, active: Number(r.variables.connections_active || 0) }));
    }
    if (asked === 'POST /settle') {
        counts.keys(1000000).filter(name => name[0] === 'b').forEach(name => counts.set('e' + name.slice(1), counts.get(name)));
        return r.return(204);
    }
    if (asked === 'POST /cut') {
        table.set('cut ' + JSON.parse(r.requestText).target, new Date().toISOString().slice(0, 23));
        return r.return(204);
    }
    r.return(404);
}

export default { answer };
