// Uploads files from a page, without a form: shows what every script has to do.
//
// The list comes first: it gives a new visitor the session that parallel uploads share.
// Without it each would start one of its own, and only the last one's file would be
// seen again. `csrftoken` is the token, got as Django's documentation says.

const url = "/attachments/draft-7/";
const listed = fetch(url); // once a page, before its first upload

export async function upload(files) {
  await listed;
  const form = new FormData();
  for (const file of files) form.append("file", file);
  const response = await fetch(url, {
    method: "POST",
    headers: { "X-CSRFToken": csrftoken },
    body: form,
  });
  // A missing CSRF token, or a login that your site asks for, is answered in HTML.
  const type = response.headers.get("Content-Type") ?? "";
  if (!type.includes("json")) throw new Error(`${response.status} ${response.url}`);
  const answer = await response.json();
  if (!response.ok) alert(answer.detail);
}
