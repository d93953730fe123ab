// Asks for flags as a page does that uses OpenFeature: all at once for one context, then from memory, until the
// gateway says that something changed.
//
// Reads a question a line from stdin, writes an answer a line to stdout, both JSON. Each change is a line of its
// own: {"changed": ["flag"]}. Arguments: the address of the gateway, and a token or nothing.

import { createInterface } from 'node:readline';
import { EventSource } from 'eventsource';
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';
import { OpenFeature, ProviderEvents } from '@openfeature/web-sdk';

// What a browser has and this runtime may lack.
globalThis.EventSource = EventSource;

const [baseUrl, token] = process.argv.slice(2);
const headers = token ? [['X-API-Key', token]] : [];
const client = OpenFeature.getClient();
const methods = {
  boolean: 'getBooleanDetails',
  string: 'getStringDetails',
  integer: 'getNumberDetails',
  float: 'getNumberDetails',
  object: 'getObjectDetails',
};
client.addHandler(ProviderEvents.ConfigurationChanged, (event) => {
  console.log(JSON.stringify({ changed: event?.flagsChanged ?? [] }));
});

let provided = false;
for await (const line of createInterface({ input: process.stdin })) {
  const { type, flag, key, attributes, default: otherwise } = JSON.parse(line);
  try {
    await OpenFeature.setContext({ ...attributes, targetingKey: key });
    if (!provided) {
      // Without polling only the stream of changes tells this client anything.
      await OpenFeature.setProviderAndWait(new OFREPWebProvider({ baseUrl, headers, pollInterval: 0 }));
      provided = true;
    }
  } catch (error) {
    console.log(JSON.stringify({ value: otherwise, error: error.code ?? String(error) }));
    continue;
  }
  const { value, variant, reason, errorCode, flagMetadata } = client[methods[type]](flag, otherwise);
  console.log(JSON.stringify({ value, variant, reason, error: errorCode, metadata: flagMetadata }));
}
process.exit(0);
