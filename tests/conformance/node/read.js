// Reads events as a browser does, and prints each as a line of JSON; ends when the server says that nothing is left.
// node read.js URL
import { EventSource } from 'eventsource'

const source = new EventSource(process.argv[2])
const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')

source.onmessage = (event) => say({ id: event.lastEventId, data: event.data })
source.onerror = (event) => {
  say({ error: event.message ?? null, code: event.code ?? null })
  // A connection that breaks is made again by itself; one that is closed is over.
  if (source.readyState === EventSource.CLOSED) say({ closed: true })
}
