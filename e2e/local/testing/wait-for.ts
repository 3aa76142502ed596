const POLL_MS = 20;

/**
 * Waits until `look` gives something other than undefined or false, and returns it.
 * @throws Error that says what was waited for, and what `look` last threw, when `deadlineMs` passes.
 */
export async function waitFor<Found>(
  what: string,
  look: () => Promise<Found | undefined | false> | Found | undefined | false,
  deadlineMs = 40_000,
): Promise<Found> {
  const endMs = performance.now() + deadlineMs;
  let last: unknown;
  for (;;) {
    try {
      const found = await look();
      if (found !== undefined && found !== false) return found;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (performance.now() > endMs) {
      const detail = last instanceof Error ? `: ${last.message}` : '';
      throw new Error(`waited ${deadlineMs} ms in vain: ${what}${detail}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
