// What HTML and htmx do not: say that the node does not answer, and that it does again.
"use strict";
const lost = document.getElementById("lost");
document.addEventListener("htmx:sse:error", () => { lost.hidden = false; });
document.addEventListener("htmx:sse:after:connection", () => { lost.hidden = true; });
document.addEventListener("htmx:sse:close", () => { lost.hidden = false; });
// The session has ended meanwhile: the login page is a page, and no part of this one.
document.addEventListener("htmx:before:swap", (event) => {
  const response = event.detail?.ctx?.response?.raw;
  if (response?.redirected && new URL(response.url).pathname === "/login") {
    event.preventDefault();
    location.assign(response.url);
  }
});
