// Asks for flags as a server does that uses OpenFeature: one evaluation a question.
//
// Reads a question a line from stdin, writes an answer a line to stdout, both JSON.
// Arguments: the address of the gateway, and a token or nothing.

import { createInterface } from 'node:readline';
import { OFREPProvider } from '@openfeature/ofrep-provider';
import { OpenFeature } from '@openfeature/server-sdk';

const [baseUrl, token] = process.argv.slice(2);
const headers = token ? [['Authorization', `Bearer ${token}`]] : [];
await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl, headers }));
const client = OpenFeature.getClient();
const methods = {
  boolean: 'getBooleanDetails',
  string: 'getStringDetails',
  integer: 'getNumberDetails',
  float: 'getNumberDetails',
  object: 'getObjectDetails',
};

for await (const line of createInterface({ input: process.stdin })) {
  const { type, flag, key, attributes, default: otherwise } = JSON.parse(line);
  const details = await client[methods[type]](flag, otherwise, { ...attributes, targetingKey: key });
  const { value, variant, reason, errorCode, flagMetadata } = details;
  console.log(JSON.stringify({ value, variant, reason, error: errorCode, metadata: flagMetadata }));
}
