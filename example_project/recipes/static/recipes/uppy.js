// To be bundled, with esbuild for example.
import Uppy from "@uppy/core";
import Dashboard from "@uppy/dashboard";
import XHRUpload from "@uppy/xhr-upload";
import "@uppy/core/css/style.min.css";
import "@uppy/dashboard/css/style.min.css";
import { headers, list, remove, sentence, url } from "./bundle.js";

const uppy = new Uppy({ autoProceed: true });
uppy.use(Dashboard, { target: "#files", inline: true, showRemoveButtonAfterComplete: true });
uppy.use(XHRUpload, {
  endpoint: url,
  headers,
  allowedMetaFields: [],
  // Else a refusal is sent four times, and told as an error of the network.
  shouldRetry: (xhr) => xhr.status === 0 || xhr.status >= 500,
  onAfterResponse(xhr) {
    if (xhr.status >= 400) throw new Error(sentence(xhr.responseText));
  },
});
// Else the sentence is behind a "?" only.
uppy.on("upload-error", (_file, error) => uppy.info(error.message, "error", 10000));

// "Cancel", and destroy(), remove the files that are uploaded, too: from the list only.
let cancelling = false;
uppy.on("cancel-all", () => {
  cancelling = true;
  setTimeout(() => {
    cancelling = false;
    restore();
  });
});
uppy.on("file-removed", ({ meta, progress, response }) => {
  if (cancelling || !progress.uploadComplete) return;
  remove(response?.body?.[0].name ?? meta.name);
});

async function restore() {
  for (const { name, mimetype, size } of await list()) {
    const id = uppy.addFile({ name, type: mimetype, data: new Blob() });
    uppy.setFileState(id, {
      size,
      progress: {
        uploadStarted: Date.now(),
        uploadComplete: true,
        percentage: 100,
        bytesUploaded: size,
        bytesTotal: size,
      },
    });
  }
}

await restore();
