/** Waits until `condition` holds, looking every few milliseconds. @throws Error after `limitMs`. */
export async function until(condition: () => boolean, limitMs = 5_000): Promise<void> {
  const deadlineMs = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > deadlineMs)
      throw new Error(`not so within ${limitMs} ms: ${condition.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
