'use strict'
// Keys of the real corestore, from a given primary key.
const fs = require('fs')
const os = require('os')
const path = require('path')
const Corestore = require('corestore')
const { serve } = require('./common')

const hex = (buffer) => buffer.toString('hex')
let stores = 0

serve(async (message) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'seckel-corestore-' + stores++ + '-'))
  const primaryKey = Buffer.from(message.primaryKey, 'hex')
  const root = new Corestore(folder, { primaryKey, unsafe: true })
  let store = root
  for (const name of message.namespaces) store = store.namespace(name)
  const core = store.get({ name: message.name })
  await core.ready()
  for (const block of message.blocks) await core.append(Buffer.from(block, 'hex'))
  const answer = {
    key: hex(core.key),
    discoveryKey: hex(core.discoveryKey),
    publicKey: hex((await store.createKeyPair(message.name)).publicKey),
    treeHash: hex(await core.treeHash()),
    signature: hex(core.core.state.signature)
  }
  await root.close()
  fs.rmSync(folder, { recursive: true, force: true })
  return answer
})
