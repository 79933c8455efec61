-- Age in seconds of the task that was taken first of those that no worker has acknowledged; 0 without one. Celery keeps
-- there when each was handed out. The number of them would not tell: a worker reserves tasks for later as a matter of course.
local first = redis.call('ZRANGE', 'unacked_index', 0, 0, 'WITHSCORES')
local age = first[2] and redis.call('TIME')[1] - first[2] or 0
return {'celery_unacked_oldest_seconds', tostring(age)}
