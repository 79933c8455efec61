#!/bin/sh
# A minute of what a database lives through: writes, reads, a rollback, a sort that needs the disk, a lock that is
# waited for, a deadlock, a checkpoint.
shop() { psql --username=postgres --dbname=shop --quiet --no-align --tuples-only "$@" >/dev/null; }
end=$(($(date +%s) + ${1:-60}))
shop -c "INSERT INTO orders (text) SELECT repeat('book ', 200) FROM generate_series(1, 20000)"
while [ "$(date +%s)" -lt "$end" ]; do
  shop -c "INSERT INTO orders (text) VALUES ('one book')" -c 'SELECT count(*) FROM orders' -c 'CHECKPOINT'
  shop -c 'BEGIN' -c "UPDATE orders SET text = 'two books' WHERE id = 1" -c 'ROLLBACK'
  shop -c "SET work_mem = '64kB'" -c 'SELECT text FROM orders ORDER BY text || id'
  shop -c 'BEGIN' -c 'UPDATE stock SET number = 1 WHERE id = 1' -c 'SELECT pg_sleep(3)' \
    -c 'UPDATE stock SET number = 1 WHERE id = 2' -c 'COMMIT' 2>/dev/null &
  shop -c 'BEGIN' -c 'UPDATE stock SET number = 2 WHERE id = 2' -c 'SELECT pg_sleep(3)' \
    -c 'UPDATE stock SET number = 2 WHERE id = 1' -c 'COMMIT' 2>/dev/null
  wait
done
