'use strict'
// A framed stream whose messages are the test's: what is written is collected as hex, what is heard is pushed.
const { Duplex } = require('streamx')

exports.make = () => {
  const log = { sent: [], events: [] }
  const stream = new Duplex({
    write(data, done) {
      log.sent.push(Buffer.from(data).toString('hex'))
      done(null)
    },
    destroy(done) {
      log.events.push({ event: 'destroyed' })
      done(null)
    }
  })
  stream.userData = null
  stream.on('error', () => {})

  // Until nothing more happens by itself: some turns of the event loop without news.
  const settle = async () => {
    let quiet = 0
    let seen = 0
    while (quiet < 4) {
      await new Promise((resolve) => setImmediate(resolve))
      const now = log.sent.length + log.events.length
      quiet = now === seen ? quiet + 1 : 0
      seen = now
    }
    const answer = { sent: log.sent, events: log.events }
    log.sent = []
    log.events = []
    return answer
  }

  const hear = (messages) => {
    for (const hex of messages) stream.push(Buffer.from(hex, 'hex'))
  }

  const tell = (event) => {
    log.events.push(event)
  }

  return { stream, hear, settle, tell }
}
