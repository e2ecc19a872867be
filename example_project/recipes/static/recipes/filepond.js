// Leave `chunkUploads` off: a piece is refused.
import { headers, list, remove, sentence, url } from "./bundle.js";

async function drop(name, done, fail) {
  const answer = await remove(name);
  if (answer.ok) done();
  else fail(answer.statusText);
}

window.FilePond.create(document.querySelector("[type=file]"), {
  server: {
    // The id of an upload is the name that it is stored under.
    process: {
      url,
      headers,
      onload: (text) => JSON.parse(text)[0].name,
      onerror: sentence,
    },
    revert: drop,
    remove: drop,
  },
  // Else "Error during upload".
  labelFileProcessingError: (error) => error.body,
  // "local" is shown without being downloaded, and goes by server.remove.
  files: (await list()).map(({ name, size, mimetype }) => ({
    source: name,
    options: { type: "local", file: { name, size, type: mimetype } },
  })),
});
