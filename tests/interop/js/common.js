'use strict'
// One JSON line in, one JSON line out.
const readline = require('readline')

exports.say = (value) => process.stdout.write(JSON.stringify(value) + '\n')

// Calls `each(message)` for every line, one after the other; says what it returns, unless that is undefined.
// Ends the process when its input ends.
exports.serve = (each) => {
  let last = Promise.resolve()
  const lines = readline.createInterface({ input: process.stdin })
  lines.on('line', (line) => {
    last = last.then(async () => {
      const answer = await each(JSON.parse(line))
      if (answer !== undefined) exports.say(answer)
    })
  })
  lines.on('close', () => last.then(() => process.exit(0)))
}
