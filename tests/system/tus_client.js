// Uploads a file by tus-js-client as it is, and prints the upload's URL.

import { readFileSync } from "node:fs";
import process from "node:process";
import { Upload } from "tus-js-client";

const [endpoint, path, filename, chunkSize, headers] = process.argv.slice(2);
const upload = new Upload(readFileSync(path), {
  endpoint,
  chunkSize: Number(chunkSize),
  headers: JSON.parse(headers),
  metadata: { filename },
  retryDelays: Array(50).fill(10),
  onSuccess: () => process.stdout.write(upload.url),
  onError: (error) => {
    throw error;
  },
});
upload.start();
