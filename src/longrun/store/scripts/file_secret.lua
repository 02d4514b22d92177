-- What signs the URLs of files, made once. ARGV: a fresh one. Returns the one that holds.
pass_when_full()
redis.call('SETNX', P .. 'filesecret', ARGV[1])
return redis.call('GET', P .. 'filesecret')
