#!/bin/sh
# Makes the captures beside this file anew. Wants root (a network namespace of its own keeps other traffic out), Node 20
# with the packages of tests/interop in NODE_PATH, tcpdump, dumpcap, and seckel's path in SECKEL.
#   NODE_PATH=target/tmp/interop/node_modules SECKEL=target/debug/seckel sh tests/captures/make.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
seckel=$(realpath "$SECKEL")
export NODE_PATH here seckel

unshare -n sh -euc '
  ip link set lo up
  cd "$here"

  # Node talks to Node.
  rm -f node.keys
  tcpdump -q -i lo -B 16384 -U --immediate-mode -s 0 -w node.pcap udp &
  sleep 1
  SECKEL_KEYS=node.keys node -r ./key_log.js node.js
  sleep 1
  kill -INT $!; wait $!

  # A registry: the server is seckel, a client and the DHT are Node. Each side logs into a file of its own.
  rm -f seckel.keys seckel.peer.keys
  work=$(mktemp -d)
  dumpcap -q -i lo -f udp -w seckel.pcapng &
  capture=$!
  sleep 1
  mkfifo "$work/dht" "$work/client"
  node ../interop/js/registry.js dht < "$work/dht" > "$work/dht.out" &
  exec 3> "$work/dht"
  until grep -q bootstrap "$work/dht.out"; do sleep 0.1; done
  export SECKEL_BOOTSTRAP=$(sed "s/.*bootstrap\":\"//; s/\".*//" "$work/dht.out")
  SECKEL_KEYS=seckel.keys "$seckel" registry server --storage "$work/server" > "$work/server.out" &
  server=$!
  until grep -q "Core Key" "$work/server.out"; do sleep 0.1; done
  key=$(sed -n "s/Server Public Key: //p" "$work/server.out")
  core=$(sed -n "s/Database Core Key: //p" "$work/server.out")
  SECKEL_KEYS=seckel.peer.keys node -r ./key_log.js ../interop/js/registry.js client \
    "{\"bootstrap\":\"$SECKEL_BOOTSTRAP\",\"server\":\"$key\",\"core\":\"$core\"}" < "$work/client" > "$work/client.out" &
  exec 4> "$work/client"
  until grep -q ready "$work/client.out"; do sleep 0.1; done
  for line in "register alice" "register bob" "delete bob" "lookup alice"; do
    echo "{\"line\":\"$line\"}" >&4
    sleep 0.5
  done
  until grep -q "alice ->" "$work/client.out"; do sleep 0.1; done
  exec 4>&-
  kill -INT $server; wait $server || true
  exec 3>&-
  sleep 1
  kill -INT $capture; wait $capture
  rm -rf "$work"
'
chmod a+r "$here"/*
ls -l "$here"
