#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A load balancer by hand: one address, two web servers, health checks. Needs root, curl and `make build`.
#
#    n1  agent, divider, bouncer                  n2  agent
#    byhand/client  10.0.1.7
#    byhand/web-1   10.0.1.5:8080     byhand/web-2  10.0.1.6:8080
#    10.0.1.100:80: both of them
set -euo pipefail
source "$(dirname "$0")/hosts.sh"

within() {
  nsenter --net="/run/netns/mizar.byhand.$1" "${@:2}"
}

serve() {                # NAME ADDRESS: a web server that says its name
  nsenter --net="/run/netns/mizar.byhand.$1" "$python" -c "
import http.server, socketserver
class Server(http.server.HTTPServer):
    server_bind = socketserver.TCPServer.server_bind
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'$1\n')
    def log_message(self, *_):
        pass
Server(('$2', 8080), Handler).serve_forever()" &
  server=$!
  background "$server"
}

answers() {              # which server answers, how often of 20
  for _ in $(seq 20); do
    within client curl --silent --show-error --max-time 5 http://10.0.1.100/
  done | sort | uniq -c
}

said() {                 # LINE: wait until the management plane has printed it
  timeout 20 sh -c "until grep -qx '$1' $state/plane.log; do sleep 0.1; done"
}

says() {                 # LINE: wait until it is the last that the management plane has printed
  timeout 20 sh -c "until tail -n 1 $state/plane.log | grep -qx '$1'; do sleep 0.1; done"
}

"$python" -u examples/node-api/02-service.py "$first" "$second" >"$state/plane.log" &
background $!
said "everybody is attached"
serve web-1 10.0.1.5
serve web-2 10.0.1.6
says "backends: web-1, web-2"
answers
kill "$server"
says "backends: web-1"
echo "web-2 has ended"
answers
echo "What the management plane saw:"
cat "$state/plane.log"
