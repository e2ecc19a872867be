// Serves @tus/server with its store of files: on the socket of this number, in this
// folder.

import { createServer } from "node:http";
import process from "node:process";
import { FileStore } from "@tus/file-store";
import { Server } from "@tus/server";

const [descriptor, directory] = process.argv.slice(2);
const tus = new Server({
  path: "/files",
  datastore: new FileStore({ directory }),
  relativeLocation: true,
});
const server = createServer((request, response) => tus.handle(request, response));
// As long as gunicorn here.
server.keepAliveTimeout = 75_000;
server.listen({ fd: Number(descriptor) });
