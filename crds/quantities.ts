import type { Parsed } from './durations.ts';

const DECIMAL_EXPONENT: Record<string, number> = {
  n: -9,
  u: -6,
  m: -3,
  '': 0,
  k: 3,
  M: 6,
  G: 9,
  T: 12,
  P: 15,
  E: 18,
};
const BINARY_FACTOR: Record<string, number> = {
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** A quantity as the API server reads it, without a sign: amounts here are never negative. */
export const QUANTITY_PATTERN =
  '^[+]?([0-9]+(?:[.][0-9]*)?|[.][0-9]+)(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?[0-9]{1,3})?$';
const QUANTITY = new RegExp(QUANTITY_PATTERN);

/** Kubernetes keeps a quantity within a signed 64-bit number. */
const MAX_QUANTITY = 2 ** 63;

/**
 * Reads a Kubernetes quantity: `500m` → 0.5, `1Gi` → 1073741824, `2` → 2, `1e3` → 1000. A number is taken as
 * it is. The unit is that of the resource: cores for cpu, bytes for memory.
 */
export function parseQuantity(quantity: string | number): Parsed<number> {
  const text = String(quantity);
  const match = QUANTITY.exec(text);
  if (match === null) {
    const shown = text.length > 60 ? `${text.slice(0, 60)}…` : text;
    return {
      ok: false,
      message: `expected a quantity such as "500m", "2" or "1Gi", got "${shown}"${unitHint(text)}`,
    };
  }
  const [, digits = '', suffix = ''] = match;
  const binary = BINARY_FACTOR[suffix];
  const exponent = DECIMAL_EXPONENT[suffix];
  // Through the decimal notation, because it rounds once: 100 × 0.001 would round twice.
  const value =
    binary !== undefined
      ? Number(digits) * binary
      : Number(exponent !== undefined ? `${digits}e${exponent}` : `${digits}${suffix}`);
  if (value > MAX_QUANTITY) {
    return { ok: false, message: `expected a quantity below 2^63, got "${text}"` };
  }
  return { ok: true, value };
}

/**
 * Writes a number as a quantity that `parseQuantity` reads back to the very same number: with a binary suffix
 * where one divides it (1073741824 → `1Gi`), in thousandths where that is exact (0.5 → `500m`), else in digits.
 */
export function formatQuantity(value: number): string {
  if (Number.isInteger(value)) {
    for (const suffix of ['Ei', 'Pi', 'Ti', 'Gi', 'Mi', 'Ki']) {
      const count = value / (BINARY_FACTOR[suffix] ?? Number.NaN);
      if (value > 0 && Number.isInteger(count)) return `${count}${suffix}`;
    }
    return String(value);
  }
  const thousandths = Math.round(value * 1_000);
  return thousandths > 0 && Number(`${thousandths}e-3`) === value ? `${thousandths}m` : String(value);
}

function unitHint(text: string): string {
  const unit = /^[0-9.]+\s*([A-Za-z]+)$/.exec(text)?.[1];
  if (unit === undefined) return '';
  const meant = {
    kb: 'Ki',
    kib: 'Ki',
    mb: 'Mi',
    mib: 'Mi',
    gb: 'Gi',
    gib: 'Gi',
    g: 'Gi',
    tb: 'Ti',
    tib: 'Ti',
  }[unit.toLowerCase()];
  return meant === undefined ? '' : `; did you mean the unit "${meant}"?`;
}
