// To be bundled, with esbuild for example.
import Tus from "@uppy/tus";
import { headers, url } from "./bundle.js";
import { uppy } from "./dashboard.js";

uppy.use(Tus, {
  endpoint: url,
  headers,
  // A proxy that buffers requests passes on what came whole.
  chunkSize: 8 * 1024 * 1024,
  // Else a file that was removed is not uploaded again.
  removeFingerprintOnSuccess: true,
  allowedMetaFields: ["name", "type"],
});
