// One call of the Kubernetes Container Runtime Interface, for machines without crictl: gRPC is HTTP/2 and protocol buffers.
//
//   node cri.mjs SOCKET METHOD REQUEST [NESTED]
//
// REQUEST is JSON: a message is a list of [field number, value], a value a string, a number, true, or a message. The response is printed
// as an object of lists by field number; what is not a number there is text, unless NESTED, a list of field numbers, says that it is a
// message. A failure is one line on stderr and exit code 1.
import http2 from 'node:http2';
import net from 'node:net';

function varint(number) {
  const bytes = [];
  let rest = BigInt.asUintN(64, BigInt(number));
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return Buffer.from([...bytes, Number(rest)]);
}

function encode(message) {
  return Buffer.concat(message.map(([field, value]) => {
    if (typeof value === 'number' || value === true) return Buffer.concat([varint(field << 3), varint(Number(value))]);
    const bytes = typeof value === 'string' ? Buffer.from(value) : encode(value);
    return Buffer.concat([varint((field << 3) | 2), varint(bytes.length), bytes]);
  }));
}

function decode(bytes, nested) {
  const message = {};
  let at = 0;
  const number = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return Number(BigInt.asIntN(64, value));
    }
  };
  while (at < bytes.length) {
    const key = number();
    const [field, kind] = [key >> 3, key & 7];
    let value;
    if (kind === 0) value = number();
    else if (kind === 2) {
      const length = number();
      const part = bytes.subarray(at, (at += length));
      value = nested.includes(field) ? decode(part, []) : part.toString();
    } else throw new Error(`field ${field} has the wire type ${kind}`);
    (message[field] ??= []).push(value);
  }
  return message;
}

const [socket, method, request, nested = '[]'] = process.argv.slice(2);
const fail = (text) => { console.error(text); process.exit(1); };
const session = http2.connect('http://localhost', { createConnection: () => net.connect(socket) });
session.on('error', (error) => fail(`${method}: ${error.message}`));
const call = session.request({
  ':method': 'POST', ':path': `/runtime.v1.RuntimeService/${method}`, 'content-type': 'application/grpc', te: 'trailers',
});
const body = encode(JSON.parse(request));
const head = Buffer.alloc(5);
head.writeUInt32BE(body.length, 1);
call.end(Buffer.concat([head, body]));
const chunks = [];
let status = {};
for (const event of ['response', 'trailers']) call.on(event, (headers) => { status = { ...status, ...headers }; });
call.on('error', (error) => fail(`${method}: ${error.message}`));
call.on('data', (chunk) => chunks.push(chunk));
call.on('end', () => {
  if (status['grpc-status'] !== '0') fail(`${method}: ${decodeURIComponent(status['grpc-message'] ?? 'no answer')}`);
  console.log(JSON.stringify(decode(Buffer.concat(chunks).subarray(5), JSON.parse(nested))));
  session.close();
});
