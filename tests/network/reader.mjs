// A reader of Bluesky with the official client library: `node reader.mjs FOLDER`, a question as JSON on stdin, the answer
// on stdout. FOLDER has node_modules. What the AppView does between us and the reader is a filter here: it hands on the
// labels that are in force on a post (it hydrates no labels on tracks, and has no ingester in the open).
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { text } from 'node:stream/consumers'

const path = join(process.argv[2], 'node_modules', '@atproto', 'api', 'dist', 'index.js')
const api = await import(pathToFileURL(path))
const { service, pds, labeler, handle, posts, reader, settings, also } = JSON.parse(await text(process.stdin))

// The library checks every answer against the lexicon and throws if it does not fit.
const { data } = await new api.AtpAgent({ service }).com.atproto.label.queryLabels({ uriPatterns: ['*'], limit: 250 })
const record = await new api.AtpAgent({ service: pds }).com.atproto.repo.getRecord({
  repo: labeler,
  collection: 'app.bsky.labeler.service',
  rkey: 'self',
})
const declared = api.AppBskyLabelerService.validateRecord(record.data.value)
if (!declared.success) throw declared.error
const { policies } = declared.value
const creator = { did: labeler, handle }
const labelDefs = { [labeler]: api.interpretLabelValueDefinitions({ creator, policies }) }

const inForce = (uri) => data.labels.filter((label) => label.uri === uri && !label.neg)
const shown = ({ uri, author }, labels, chosen = {}) => {
  const post = {
    uri,
    cid: record.data.cid,
    author: { did: author, handle: 'author.test' },
    record: { $type: 'app.bsky.feed.post', text: 'New music', createdAt: '2026-11-20T10:00:00Z' },
    labels,
    indexedAt: '2026-11-20T10:00:00Z',
  }
  const prefs = {
    adultContentEnabled: false,
    labels: {},
    labelers: [{ did: labeler, labels: chosen }],
    mutedWords: [],
    hiddenPosts: [],
  }
  const decision = api.moderatePost(post, { userDid: reader, prefs, labelDefs })
  const names = (causes) => causes.map((cause) => cause.label?.val ?? cause.type)
  const at = (place) => {
    const ui = decision.ui(place)
    return {
      badges: names(ui.informs),
      alerts: names(ui.alerts),
      blurred: names(ui.blurs),
      hidden: names(ui.filters),
    }
  }
  return { list: at('contentList'), view: at('contentView'), profile: at('profileView'), media: at('contentMedia') }
}

const answer = { definitions: labelDefs[labeler].length, values: policies.labelValues.length, labels: {}, posts: {} }
for (const label of data.labels) {
  answer.labels[`${label.uri} ${label.val}`] = { neg: label.neg ?? false, sig: Buffer.from(label.sig).toString('hex') }
}
for (const post of posts) {
  const labels = inForce(post.uri)
  const styles = labels.length ? also.map((val) => ({ ...labels[0], val })) : []
  answer.posts[post.uri] = {
    usual: shown(post, labels),
    chosen: shown(post, labels, settings),
    styles: shown(post, styles),
    stylesChosen: shown(post, styles, settings),
  }
}
process.stdout.write(JSON.stringify(answer))
