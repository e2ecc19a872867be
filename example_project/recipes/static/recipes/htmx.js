// Without progress: htmx 4 tells of none. What is refused must not be swapped in.
import { sentence, tell } from "./bundle.js";

const { htmx } = window;
const form = document.querySelector("#upload");

form.addEventListener("htmx:before:request", () => tell(""));
form.addEventListener("htmx:response:error", ({ detail }) => {
  tell(sentence(detail.ctx.text));
});
document.querySelector("#cancel").addEventListener("click", () => {
  htmx.trigger(form, "htmx:abort");
});
