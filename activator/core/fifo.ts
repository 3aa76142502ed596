/** What a list of this kind holds: an element carries its own links, so that leaving costs no search. */
export interface Linked<Element> {
  next: Element | undefined;
  previous: Element | undefined;
}

/**
 * First in, first out, with removal from the middle in constant time: of thousands that wait, any may leave.
 */
export class Fifo<Element extends Linked<Element>> {
  #head: Element | undefined;
  #tail: Element | undefined;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  get head(): Element | undefined {
    return this.#head;
  }

  push(element: Element): void {
    element.previous = this.#tail;
    element.next = undefined;
    if (this.#tail === undefined) this.#head = element;
    else this.#tail.next = element;
    this.#tail = element;
    this.#length++;
  }

  /** Puts an element before all others: one that had its turn and comes back. */
  unshift(element: Element): void {
    element.next = this.#head;
    element.previous = undefined;
    if (this.#head === undefined) this.#tail = element;
    else this.#head.previous = element;
    this.#head = element;
    this.#length++;
  }

  /** The element must be in this list. */
  remove(element: Element): void {
    if (element.previous === undefined) this.#head = element.next;
    else element.previous.next = element.next;
    if (element.next === undefined) this.#tail = element.previous;
    else element.next.previous = element.previous;
    element.next = undefined;
    element.previous = undefined;
    this.#length--;
  }

  /** Empties the list and returns what it held, in order. */
  takeAll(): Element[] {
    const elements: Element[] = [];
    while (this.#head !== undefined) {
      elements.push(this.#head);
      this.remove(this.#head);
    }
    return elements;
  }
}
