'use strict';

// A web server that stops the way an orchestrator expects: on SIGTERM it takes no new connections, finishes the requests that
// are under way, and exits 0. Nothing but Node's own modules.

const http = require('node:http');

const server = http.createServer((request, response) => {
  const path = new URL(request.url, 'http://localhost').pathname;

  if (path === '/slow') {
    console.log('slow request');
    setTimeout(() => response.end('that took a while\n'), 3000);
    return;
  }

  // Answers when the whole body is there: as long as the client is sending, the request is in flight.
  if (path === '/count' && request.method === 'POST') {
    let bytes = 0;
    request.once('data', () => console.log('upload begun'));
    request.on('data', (chunk) => { bytes += chunk.length; });
    request.on('end', () => response.end(`${bytes}\n`));
    return;
  }

  response.end(`hello from pid ${process.pid}\n`);
});

let stopping = false;

// `on`, not `once`: under npm the signal comes twice, from init and from npm, and the second would kill us.
process.on('SIGTERM', stop);
process.on('SIGINT', stop);

function stop(signal) {
  if (stopping) return;
  stopping = true;
  // From here on, new connections are refused. The event loop ends by itself with the last request that is under way: nothing
  // needs to call process.exit().
  server.close(() => console.log('stopped'));
  server.closeIdleConnections();
  console.log(`${signal}: stopping`);
}

server.listen(process.env.PORT ?? 3000, () => console.log(`listening on ${server.address().port}`));
