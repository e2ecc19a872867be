// To be bundled, with esbuild for example.
import XHRUpload from "@uppy/xhr-upload";
import { headers, sentence, url } from "./bundle.js";
import { uppy } from "./dashboard.js";

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
