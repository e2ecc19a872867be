// What goes wrong is kept for the tests, also when another page comes.
function tell(text) {
  sessionStorage.faults = `${sessionStorage.faults ?? ""}${text}\n`;
}
document.addEventListener("securitypolicyviolation", (event) => {
  tell(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`);
});
addEventListener("error", (event) => tell(event.message));
addEventListener("unhandledrejection", (event) => tell(event.reason));

// A new row of the formset.
addEventListener("click", ({ target }) => {
  if (target.id !== "add") return;
  const total = document.querySelector("[name=form-TOTAL_FORMS]");
  const row = document.createElement("div");
  const template = document.querySelector("form > template");
  row.innerHTML = template.innerHTML.replaceAll("__prefix__", total.value);
  total.value = Number(total.value) + 1;
  template.before(row.firstElementChild);
});
