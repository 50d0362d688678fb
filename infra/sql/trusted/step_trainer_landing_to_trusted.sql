-- step_trainer_trusted: every Step Trainer reading of a curated customer's device.
--
-- Reads    step_trainer_landing, customer_curated, policy
-- Writes   step_trainer_trusted (in the lake partitioned by reading_date, the reading's UTC date)
--
-- Serial numbers are compared exactly. A customer without one matches nothing.
--
-- policy is a table of one row; policy.consent is
--   'any'     a customer with this device consents: all its readings count, also those from before;
--   'as-of'   only readings from the date of the consent on.
create or replace table step_trainer_trusted as
select s.sensorreadingtime, s.serialnumber, s.distancefromobject
from step_trainer_landing as s
cross join policy as p
where exists (
    select 1
    from customer_curated as c
    where c.serialnumber = s.serialnumber
      and (p.consent = 'any' or s.sensorreadingtime >= c.sharewithresearchasofdate)
);
