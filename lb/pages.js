// Responses the balancer makes itself: their text stands in nginx.conf; what only JavaScript can set is here.

function server(r) {
    r.headersOut['Server'] = 'awselb/2.0';
}

export default { server };
