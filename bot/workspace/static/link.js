// The connection to the workspace. The secret comes from the address of the page and goes along in a header: there is no
// cookie, so no other page can make the browser send it.

const TOKEN = new URLSearchParams(location.search).get("token") ?? "";
const HEADERS = { "X-Workspace-Token": TOKEN };

export const AWAY = "the workspace does not answer";

export async function act(action, body) {
  try {
    const headers = { ...HEADERS, "Content-Type": "application/json" };
    const response = await fetch(`/page/${action}`, { method: "POST", headers, body: JSON.stringify(body) });
    return await response.json();
  } catch {
    return { ok: false, error: AWAY };
  }
}

// Call `take` with a snapshot and then with every change; start over when the connection is lost.
export async function follow(take) {
  for (let wait = 250; ; wait = Math.min(wait * 2, 4000)) {
    try {
      const response = await fetch("/page/stream", { headers: HEADERS });
      if (!response.ok) throw new Error(String(response.status));
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        for (const line of lines) take(JSON.parse(line));
        wait = 250;
      }
    } catch {
      // fall through: tell the page, wait, try again
    }
    take({ type: "lost" });
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}
