// The label of standard input's first line, signed as a JavaScript labeler does it. Run with the folder of node_modules
// as working directory: `node --input-type=module --eval "$(cat sign_noble.mjs)"`. Each further line is a count; each
// answer is [labels per CPU second, the last signature].
import { createInterface } from 'node:readline'
import { encode } from '@ipld/dag-cbor'
import { secp256k1 } from '@noble/curves/secp256k1'
import { sha256 } from '@noble/hashes/sha2'

let label
for await (const line of createInterface({ input: process.stdin })) {
  if (label === undefined) {
    label = JSON.parse(line)
    continue
  }
  const key = Buffer.alloc(32, 7)
  const before = process.cpuUsage()
  let sig
  for (let n = 0; n < Number(line); n++) {
    sig = secp256k1.sign(sha256(encode(label)), key, { lowS: true }).toCompactRawBytes()
  }
  const { user, system } = process.cpuUsage(before)
  console.log(JSON.stringify([(Number(line) * 1e6) / (user + system), Buffer.from(sig).toString('hex')]))
}
