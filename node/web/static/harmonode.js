// What HTML and htmx do not: say that the node does not answer, and that it does again.
"use strict";
const AGAIN_MS = 2000, LOGGED_OUT = 401;
const lost = document.getElementById("lost"), live = document.getElementById("live");
const missing = (status) => {
  if (status === LOGGED_OUT) location.reload();
  lost.hidden = false;
};
document.addEventListener("htmx:sse:error", (event) => { missing(event.detail?.status); });
// A connection that broke off is tried again by itself, the first one is not.
const again = (event) => {
  if (event.target !== live) return;
  missing(event.detail?.ctx?.response?.status);
  setTimeout(() => { htmx.trigger(live, "again"); }, AGAIN_MS);
};
document.addEventListener("htmx:error", again);
document.addEventListener("htmx:response:error", again);
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
