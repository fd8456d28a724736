// One server of the test network: `node server.mjs FOLDER plc PORT` or, configured by its environment, `... FOLDER pds`.
// FOLDER has node_modules. Tells in JSON lines what happens: {"ready": true}, then {"mail": NAME, ...} for each mail.
import net from 'node:net'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder, kind, port] = process.argv.slice(2)
const load = (path) => import(pathToFileURL(join(folder, 'node_modules', path)))
const tell = (event) => process.stdout.write(JSON.stringify(event) + '\n')

// Both servers listen on every address of the machine; these belong on the loopback.
const listen = net.Server.prototype.listen
net.Server.prototype.listen = function (first, ...rest) {
  return typeof first === 'number' ? listen.call(this, first, '127.0.0.1', ...rest) : listen.call(this, first, ...rest)
}

// Whoever started us is gone when the pipe closes.
process.stdin.on('end', () => process.exit(0)).resume()

if (kind === 'plc') {
  const { PlcServer, Database } = (await load('@did-plc/server/dist/index.js')).default
  await PlcServer.create({ db: Database.mock(), port: Number(port) }).start()
} else {
  const { PDS } = await load('@atproto/pds/dist/index.js')
  const pds = await PDS.fromEnv()
  pds.ctx.mailer.sendTemplate = async (name, params, { to }) => tell({ mail: name, to, ...params })
  await pds.start()
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => pds.destroy().finally(() => process.exit(0)))
}
tell({ ready: true })
