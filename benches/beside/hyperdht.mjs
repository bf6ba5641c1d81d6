// A host of hyperdht for hyperdht.py, which gives its role in the arguments and reads its lines.
//
//   hyperdht.mjs nodes PORT ADDRESS...        nodes with public addresses; the first is the way in
//   hyperdht.mjs listen BOOTSTRAP             prints its key, and writes one byte to each conn
//   hyperdht.mjs dial BOOTSTRAP KEY           connects once for each line of its input

import { createInterface } from 'node:readline'
import DHT from 'hyperdht'

const [role, ...args] = process.argv.slice(2)
const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')

async function nodes (port, addresses) {
  const bootstrap = []
  for (const host of addresses) {
    const node = new DHT({ bootstrap, host, port: Number(port), ephemeral: false, firewalled: false })
    await node.fullyBootstrapped()
    if (bootstrap.length === 0) bootstrap.push(`${host}:${port}`)
  }
  say({ ready: addresses.length })
}

async function listen (bootstrap) {
  const node = new DHT({ bootstrap: [bootstrap] })
  const server = node.createServer((socket) => {
    socket.on('error', () => {})
    socket.write(Buffer.from([1]))
  })
  const keys = DHT.keyPair()
  await server.listen(keys)
  say({ ready: keys.publicKey.toString('hex') })
}

async function dial (bootstrap, key) {
  const node = new DHT({ bootstrap: [bootstrap] })
  await node.fullyBootstrapped()
  say({ ready: true })
  for await (const _ of createInterface({ input: process.stdin })) {
    const begun = process.hrtime.bigint()
    const socket = node.connect(Buffer.from(key, 'hex'))
    const error = await new Promise((resolve) => {
      socket.once('data', () => resolve(null))
      socket.once('error', (error) => resolve(error.code || error.message))
    })
    const ms = Number(process.hrtime.bigint() - begun) / 1e6
    const remote = socket.rawStream?.remoteHost ?? null
    say({ ms, error, remote })
    socket.destroy()
  }
}

const roles = {
  nodes: () => nodes(args[0], args.slice(1)),
  listen: () => listen(args[0]),
  dial: () => dial(args[0], args[1])
}
await roles[role]()
