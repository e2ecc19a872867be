// Leave `chunking` off: a piece is refused. Dropzone asks before it cancels.
import { headers, list, remove, sentence, tell, url } from "./bundle.js";

const { Dropzone } = window;
Dropzone.autoDiscover = false;
const dropzone = new Dropzone("#files", { url, headers, addRemoveLinks: true });

dropzone.on("success", (file, [stored]) => Object.assign(file, { stored }));
// Its own message is the whole answer, and is seen under the mouse only.
dropzone.on("error", (file, message, xhr) => {
  const text = xhr ? sentence(xhr.responseText) : message;
  file.previewElement.querySelector("[data-dz-errormessage]").textContent = text;
  tell(text);
});
// Told of every file that goes, also by removeAllFiles(): do not call that after the
// form was sent.
dropzone.on("removedfile", ({ stored }) => stored && remove(stored.name));

for (const stored of await list()) {
  const file = { ...stored, stored, status: Dropzone.SUCCESS };
  dropzone.files.push(file);
  dropzone.emit("addedfile", file);
  dropzone.emit("complete", file);
}
