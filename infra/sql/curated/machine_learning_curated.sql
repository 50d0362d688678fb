-- machine_learning_curated: each trusted step reading with the accelerometer readings of its time.
--
-- Reads    step_trainer_trusted, accelerometer_trusted, customer_curated, policy
-- Writes   machine_learning_curated (in the lake partitioned by reading_date, the reading's UTC date)
--
-- policy is a table of one row; policy.pairing is
--   'timestamp'  all accelerometer readings of that millisecond, also of other customers;
--   'customer'   only those of the customer whose device it is.
--
-- This is the table before the third policy, identity: unless that is 'clear', the lake writes
-- user and serialnumber as keyed pseudonyms ('pseudonym') or as nulls ('none').
create or replace table machine_learning_curated as
select
    s.serialnumber,
    s.sensorreadingtime,
    s.distancefromobject,
    a."user",
    a."timestamp",
    a.x,
    a.y,
    a.z
from step_trainer_trusted as s
inner join accelerometer_trusted as a on a."timestamp" = s.sensorreadingtime
cross join policy as p
where p.pairing = 'timestamp'
   or exists (
        select 1
        from customer_curated as c
        where c.serialnumber = s.serialnumber
          and lower(trim(both ' ' from c.email)) = lower(trim(both ' ' from a."user"))
    );
