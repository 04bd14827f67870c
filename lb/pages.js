// Responses the balancer makes itself. The bodies are byte for byte an ALB's where captures exist (502, 503, 504).

const TITLES = {
    400: '400 Bad Request',
    405: '405 Not Allowed',
    408: '408 Request Time-out',
    463: '463',
    500: '500 Internal Server Error',
    501: '501 Not Implemented',
    502: '502 Bad Gateway',
    503: '503 Service Temporarily Unavailable',
    504: '504 Gateway Time-out',
    505: '505 HTTP Version Not Supported',
};

// The status stands in the query string that `error_page` has put there.
function answer(r) {
    const status = Number(r.variables.args), title = TITLES[status];
    r.headersOut['Content-Type'] = 'text/html';
    if (r.variables.alb_server_header === '1') {
        r.headersOut['Server'] = 'awselb/2.0';
    }
    r.return(status, '<html>\r\n<head><title>' + title + '</title></head>\r\n<body>\r\n'
        + '<center><h1>' + title + '</h1></center>\r\n</body>\r\n</html>\r\n');
}

export default { answer };
