// Messages to the server. Of several messages to one address only the latest counts: an older one is given up.

const underway = new Map();

/** Send `message`; returns the answer, or null if a later message to the same address has been sent meanwhile. */
export async function ask(address, message) {
  underway.get(address)?.abort();
  const controller = new AbortController();
  underway.set(address, controller);
  try {
    for (let attempt = 0; ; attempt++) {
      const response = await fetch(address, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(message),
        signal: controller.signal,
      });
      if (response.status === 503 && attempt < 5) {
        await new Promise((resolve) => setTimeout(resolve, 200 * (attempt + 1)));
        continue;
      }
      const answer = response.status === 204 ? null : await response.json();
      if (!response.ok) throw new Error(answer?.error ?? `the server answered ${response.status}`);
      return underway.get(address) === controller ? answer : null;
    }
  } catch (error) {
    if (error.name === "AbortError") return null;
    throw error;
  }
}

/** Give up the message to `address` that is underway. */
export function give(address) {
  underway.get(address)?.abort();
  underway.delete(address);
}

let shown = 0;

/** Show a sentence at the bottom of the page for a while. */
export function notify(sentence) {
  const place = document.getElementById("notice");
  place.textContent = sentence;
  clearTimeout(shown);
  shown = setTimeout(() => (place.textContent = ""), 6000);
}

/** Run an async function; if it fails, say why. */
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    notify(error instanceof TypeError ? "The server cannot be reached; is `quickstudy play` still running?" : error.message);
    return null;
  }
}
