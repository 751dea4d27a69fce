// Some of the proofs by nftables, as real root, where nothing else than in a user namespace is to be expected.
process.env.ONLY ??= 'two guests';
await import('./nft.test.js');
