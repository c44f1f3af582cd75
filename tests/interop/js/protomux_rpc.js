'use strict'
// protomux-rpc over a stream that the test carries. Each command is answered with what was sent and what happened.
const Protomux = require('protomux')
const ProtomuxRPC = require('protomux-rpc')
const Capability = require('hyperswarm-capability')
const c = require('compact-encoding')
const { serve } = require('./common')
const { make } = require('./protomux_stream')

const hex = (bytes) => (bytes ? Buffer.from(bytes).toString('hex') : null)
let pipe, rpc, held

const start = ({ id, raw, capability }) => {
  pipe = make()
  const { tell, stream } = pipe
  const options = { id: id ? Buffer.from(id, 'hex') : undefined }
  if (raw) options.valueEncoding = null
  if (capability) {
    stream.isInitiator = capability.initiator
    stream.handshakeHash = Buffer.from(capability.hash, 'hex')
    options.handshakeEncoding = Capability.Encoding
    const key = Buffer.from(capability.key, 'hex')
    options.handshake = { capability: new Capability().generate(stream, key) }
  }
  rpc = new ProtomuxRPC(stream, options)
  held = []
  rpc.on('open', (handshake) => {
    const event = { event: 'open' }
    if (capability) {
      event.proven = new Capability().verify(stream, Buffer.from(capability.key, 'hex'), handshake.capability)
    }
    tell(event)
  })
  rpc.on('close', () => tell({ event: 'close' }))
  rpc.respond('echo', (value) => value)
  rpc.respond('hold', (value) => new Promise((resolve) => held.push(() => resolve(value))))
  rpc.respond('note', (value) => {
    tell({ event: 'notice', value: hex(value) })
  })
  rpc.respond('throws', () => {
    throw new Error('it broke')
  })
  rpc.respond('throws with code', () => {
    const error = new Error('it broke')
    error.code = 'BROKEN'
    error.context = 'some context'
    throw error
  })
  rpc.respond('bad request', { requestEncoding: c.fixed32 }, () => null)
  rpc.respond('bad response', { responseEncoding: c.fixed32 }, () => Buffer.alloc(3))
}

const failure = (error) => ({
  message: error.message,
  code: error.code || null,
  cause: error.cause
    ? { message: error.cause.message, code: error.cause.code || '', context: error.cause.context || null }
    : null
})

const request = ({ method, value, timeout, tag }) => {
  const { tell } = pipe
  rpc.request(method, Buffer.from(value, 'hex'), { timeout: timeout || -1 }).then(
    (value) => tell({ event: 'answer', tag, value: hex(value) }),
    (error) => tell({ event: 'failed', tag, ...failure(error) })
  )
}

const commands = {
  start,
  hear: ({ messages }) => pipe.hear(messages),
  request,
  event: ({ method, value }) => rpc.event(method, Buffer.from(value, 'hex')),
  release: ({ n }) => held.splice(n, 1)[0](),
  cork: () => rpc.cork(),
  uncork: () => rpc.uncork(),
  end: () => {
    rpc.end()
  },
  destroy: () => rpc.destroy(),
  until: () => {}
}

serve(async (all) => {
  for (const command of [].concat(all)) commands[command.do](command)
  const answer = await pipe.settle()
  // a test that waits for a time-out over there says until which event
  const until = [].concat(all).find((command) => command.do === 'until')
  while (until && !answer.events.some((event) => event.event === until.event)) {
    await new Promise((resolve) => setTimeout(resolve, 1))
    const more = await pipe.settle()
    answer.sent.push(...more.sent)
    answer.events.push(...more.events)
  }
  return answer
})
