// Uppy's dashboard, without what uploads: see uppy.js and uppy-tus.js.
import Uppy from "@uppy/core";
import Dashboard from "@uppy/dashboard";
import "@uppy/core/css/style.min.css";
import "@uppy/dashboard/css/style.min.css";
import { list, remove, sentence } from "./bundle.js";

const uppy = new Uppy({ autoProceed: true });
uppy.use(Dashboard, { target: "#files", inline: true, showRemoveButtonAfterComplete: true });

// Else the sentence is behind a "?" only.
uppy.on("upload-error", (_file, error, response) => {
  const text = response?.body?.xhr?.responseText;
  uppy.info(text ? sentence(text) : error.message, "error", 10000);
});

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
  remove(response?.body?.[0]?.name ?? meta.name);
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

restore();

export { uppy };
