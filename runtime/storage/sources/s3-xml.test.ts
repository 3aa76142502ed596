import { expect, test } from 'vitest';
import { parseObjectPage, parseS3Error } from './s3-xml.ts';

test('a page of a listing gives its objects and, while there is more, the token', () => {
  const xml = `<?xml version="1.0" encoding="UTF-8"?>
    <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><IsTruncated>true</IsTruncated>
    <Contents><Key>a&amp;b &lt;c&gt; &#x6a21;&#233;</Key><Size>5</Size><ETag>&quot;e1&quot;</ETag></Contents>
    <Contents><Key>IsTruncated</Key><Size>0</Size></Contents>
    <NextContinuationToken>t+/=&amp;</NextContinuationToken></ListBucketResult>`;
  expect(parseObjectPage(xml, 'it')).toEqual({
    objects: [
      { key: 'a&b <c> 模é', sizeBytes: 5, version: '"e1"' },
      { key: 'IsTruncated', sizeBytes: 0, version: undefined },
    ],
    next: 't+/=&',
  });
});

test('the last page has no token, whatever else it says', () => {
  const xml =
    '<ListBucketResult><IsTruncated>false</IsTruncated><NextContinuationToken>x</NextContinuationToken></ListBucketResult>';
  expect(parseObjectPage(xml, 'it')).toEqual({ objects: [], next: undefined });
});

test.each(['', '<html></html>', '{"objects": []}'])('a text that is no listing is refused: %j', (text) => {
  expect(() => parseObjectPage(text, 'it')).toThrow('is it an S3 endpoint?');
});

test('an error gives its code and a short text', () => {
  expect(parseS3Error('<Error><Code>AccessDenied</Code><Message>No &amp; no</Message></Error>')).toEqual({
    code: 'AccessDenied',
    region: undefined,
    text: 'AccessDenied: No & no',
  });
  expect(
    parseS3Error(`<Error><Code>X</Code><Message>${'m'.repeat(1000)}</Message></Error>`).text,
  ).toHaveLength(203);
  expect(parseS3Error('bad gateway')).toEqual({ code: '', region: undefined, text: '' });
});
