import { describe, expect, it } from 'vitest';
import { excessBurstCapacity } from './burst-capacity.ts';
import { autoscalerSpec } from './spec.ts';

describe('excess burst capacity', () => {
  it('is what is left of the whole capacity after the load and the burst to keep room for', () => {
    expect(excessBurstCapacity(autoscalerSpec(), 4, 150)).toBe(39);
  });

  it('is rounded down, so half a request too little is too little', () => {
    expect(excessBurstCapacity(autoscalerSpec(), 4, 189.5)).toBe(-1);
  });

  it('needs 211 replicas by default when a replica takes one request at once', () => {
    const spec = autoscalerSpec({ targetCapacity: 1 });
    expect(excessBurstCapacity(spec, 210, 0)).toBe(-1);
    expect(excessBurstCapacity(spec, 211, 0)).toBe(0);
  });

  it('is 0 with a target of 0 and -1 with a target of -1, whatever the load', () => {
    expect(excessBurstCapacity(autoscalerSpec({ targetBurstCapacity: 0 }), 1, 1e6)).toBe(0);
    expect(excessBurstCapacity(autoscalerSpec({ targetBurstCapacity: -1 }), 1e6, 0)).toBe(-1);
  });
});
