-- accelerometer_trusted: every accelerometer reading of a trusted customer.
--
-- Reads    accelerometer_landing, customer_trusted, policy
-- Writes   accelerometer_trusted (in the lake partitioned by reading_date, the reading's UTC date)
--
-- policy is a table of one row; policy.consent is
--   'any'     the customer consents: all their readings count, also those from before;
--   'as-of'   only readings from the date of the consent on.
create or replace table accelerometer_trusted as
select a."user", a."timestamp", a.x, a.y, a.z
from accelerometer_landing as a
cross join policy as p
where exists (
    select 1
    from customer_trusted as c
    where lower(trim(both ' ' from c.email)) = lower(trim(both ' ' from a."user"))
      and (p.consent = 'any' or a."timestamp" >= c.sharewithresearchasofdate)
);
