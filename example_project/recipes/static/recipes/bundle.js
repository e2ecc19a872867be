// The bundle of a page, and what no uploader asks of it by itself.
const { url, token } = document.querySelector("main").dataset;
const headers = { "X-CSRFToken": token };

async function list() {
  return (await fetch(url)).json();
}

// By the name in an answer: browsers send a quote in a name as %22, for example.
function remove(name) {
  return fetch(`${url}${encodeURIComponent(name)}/`, { method: "DELETE", headers });
}

// What the app says of a refusal. A lost session is answered in HTML.
function sentence(text) {
  try {
    return JSON.parse(text).detail;
  } catch {
    return "The upload has failed. Please reload the page.";
  }
}

function tell(text) {
  document.querySelector("[role=alert]").textContent = text;
}

export { headers, list, remove, sentence, tell, url };
