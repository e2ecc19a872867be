// With jQuery 3: jQuery 4 breaks jquery.form 4.
import { headers, list, remove, sentence, tell, url } from "./bundle.js";

const { $ } = window;
const form = $("form");

async function show() {
  $("ul").empty();
  for (const { name } of await list()) {
    const button = $("<button>").text(`Remove ${name}`);
    button.on("click", () => remove(name).then(show));
    $("<li>").append($("<span>").text(name), " ", button).appendTo("ul");
  }
}

form.ajaxForm({
  url,
  headers,
  // Else it is what the form's attribute says: GET.
  type: "POST",
  dataType: "json",
  resetForm: true,
  beforeSend: () => tell(""),
  uploadProgress: (_event, _sent, _size, percent) => $("progress").val(percent),
  success: show,
  error: (xhr, status) => tell(status === "abort" ? "" : sentence(xhr.responseText)),
  complete: () => $("progress").val(0),
});
$("#cancel").on("click", () => form.data("jqxhr")?.abort());
show();
