/** `{port: 8080, host: 'a'}` as `['--port', '8080', '--host', 'a']`, for starting another of our programs. */
export function commandFlags(values: Readonly<Record<string, string | number>>): string[] {
  return Object.entries(values).flatMap(([name, value]) => [`--${name}`, String(value)]);
}
