// Signing in. The password stays in this tab, and this script adds it to each request: a browser that knew it itself
// would add it to requests of other pages, too.
const KEEP = "hilbert.authorization";

export class SignedOut extends Error {}

function basic(user, password) {
  return "Basic " + btoa(String.fromCharCode(...new TextEncoder().encode(`${user}:${password}`)));
}

// The JSON at a path of the gateway. Throws SignedOut when the gateway asks for a password.
export async function read(path) {
  const headers = { Accept: "application/json" };
  const kept = sessionStorage.getItem(KEEP);
  if (kept) headers.Authorization = kept;
  // location.origin has no user and password, unlike the page's own address, perhaps.
  const answer = await fetch(new URL(path, location.origin), { headers, credentials: "omit", cache: "no-store" });
  if (answer.status === 401) {
    sessionStorage.removeItem(KEEP);
    throw new SignedOut(kept ? "Wrong user or password." : "");
  }
  if (!answer.ok) {
    const problem = await answer.json().catch(() => null);
    throw new Error(problem?.error?.message || `${answer.status} ${answer.statusText}`);
  }
  return answer.json();
}

// Calls show() now and after each sign-in; show() may throw SignedOut, and then the form appears.
export function start(show) {
  const form = document.getElementById("sign-in");
  const note = document.getElementById("note");
  const leave = document.getElementById("sign-out");

  async function go() {
    try {
      await show();
      form.hidden = true;
      leave.hidden = sessionStorage.getItem(KEEP) === null;
    } catch (error) {
      const signedOut = error instanceof SignedOut;
      note.textContent = signedOut ? error.message || "Sign in to see your functions." : `Cannot read from the gateway: ${error.message}`;
      if (signedOut) {
        form.hidden = false;
        leave.hidden = true;
        form.elements.user.focus();
      }
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEEP, basic(form.elements.user.value, form.elements.password.value));
    form.elements.password.value = "";
    go();
  });
  leave.addEventListener("click", () => {
    sessionStorage.removeItem(KEEP);
    location.reload();
  });
  go();
  return go;
}
