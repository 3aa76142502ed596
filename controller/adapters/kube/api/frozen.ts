/** Freezes a value of JSON all the way down and returns it: what many share, nobody may change. */
export function frozen<Type>(value: Type): Type {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const part of Object.values(value)) frozen(part);
  }
  return value;
}
