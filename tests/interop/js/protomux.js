'use strict'
// protomux over a stream that the test carries. Each command is answered with what was sent and what happened.
const Protomux = require('protomux')
const c = require('compact-encoding')
const { serve } = require('./common')
const { make } = require('./protomux_stream')

const hex = (bytes) => Buffer.from(bytes).toString('hex')
let pipe, mux, channels

const start = () => {
  pipe = make()
  mux = new Protomux(pipe.stream)
  channels = new Map()
}
start()

const open = ({ name, protocol, id, aliases, handshake, unique, echo }) => {
  const { tell } = pipe
  const message = (kind) => ({
    encoding: c.raw,
    onmessage(bytes) {
      tell({ event: 'message', channel: name, kind, bytes: hex(bytes) })
      if (echo) channel.messages[kind].send(bytes)
    }
  })
  const channel = mux.createChannel({
    protocol,
    id: id ? Buffer.from(id, 'hex') : null,
    aliases: aliases || [],
    unique: unique !== false,
    handshake: c.raw,
    messages: [0, 1, 2, 3].map(message),
    onopen: (handshake) => tell({ event: 'opened', channel: name, handshake: hex(handshake) }),
    onclose: (remote) => tell({ event: 'closed', channel: name, remote: remote === true })
  })
  if (channel === null) return tell({ event: 'refused', channel: name })
  channels.set(name, channel)
  channel.open(Buffer.from(handshake || '', 'hex'))
}

const commands = {
  fresh: start,
  hear: ({ messages }) => pipe.hear(messages),
  open,
  pair: (what) => mux.pair({ protocol: what.protocol }, () => open(what)),
  send: ({ channel, kind, bytes }) => channels.get(channel).messages[kind].send(Buffer.from(bytes, 'hex')),
  many: ({ channel, count }) => {
    for (let n = 0; n < count; n++) channels.get(channel).messages[0].send(Buffer.from([n & 255, n >> 8]))
  },
  close: ({ channel }) => channels.get(channel).close(),
  cork: () => mux.cork(),
  uncork: () => mux.uncork(),
  idle: () => pipe.tell({ event: 'idle', idle: mux.isIdle() })
}

serve(async (all) => {
  for (const command of [].concat(all)) commands[command.do](command)
  return pipe.settle()
})
