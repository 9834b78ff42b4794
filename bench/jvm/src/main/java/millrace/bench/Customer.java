package millrace.bench;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.JsonNode;
import java.util.Map;
import java.util.SortedSet;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Pattern;
import org.apache.avro.generic.GenericRecord;

/** The state of a customer's stream, and the rules of registering one and changing the details. */
record Customer(Details details, SortedSet<String> tags, Map<String, String> preferences, JsonNode risk) {
    /** Raised with the state's form. */
    static final int STATE_VERSION = 2;

    private static final Pattern EMAIL = Pattern.compile("[^\\s\\p{Cntrl}@]+@[^\\s\\p{Cntrl}@.]+(\\.[^\\s\\p{Cntrl}@.]+)+");
    private static final Pattern PHONE = Pattern.compile("[0-9 +\\-./()#x]{5,40}");

    static Customer with(Details details) {
        return new Customer(details, new TreeSet<>(), new TreeMap<>(), null);
    }

    Customer changed(Details details) {
        return new Customer(details, tags, preferences, risk);
    }

    /** Who a customer is and how to reach them. */
    record Details(String name, @JsonProperty("contact_name") String contactName, String email, String phone, String city,
            String country) {
        static Details of(GenericRecord record) {
            return new Details((String) record.get("name"), (String) record.get("contact_name"),
                    (String) record.get("email"), (String) record.get("phone"), (String) record.get("city"),
                    (String) record.get("country"));
        }

        void fill(GenericRecord record) {
            record.put("name", name);
            record.put("contact_name", contactName);
            record.put("email", email);
            record.put("phone", phone);
            record.put("city", city);
            record.put("country", country);
        }

        void check() throws Rejected {
            text("name", "name-invalid", name, 2);
            text("contact_name", "contact-name-invalid", contactName, 1);
            text("city", "city-invalid", city, 1);
            text("country", "country-invalid", country, 1);
            require(email == null || email.length() <= 254 && EMAIL.matcher(email).matches(), "email-invalid", "email");
            require(phone == null || PHONE.matcher(phone).matches() && digits(phone) >= 5, "phone-invalid", "phone");
            require(email != null || phone != null, "contact-missing", "email and phone");
        }
    }

    /** The events of a command: none or one, by its full name. */
    static String decide(Customer known, String type, String id, Details details) throws Rejected {
        if (type.endsWith(".RegisterCustomer")) {
            text("customer_id", "id-invalid", id, 1);
            details.check();
            require(known == null, "customer-exists", "customer_id");
            return "millrace.customers.CustomerRegistered";
        }
        require(known != null, "customer-unknown", "customer_id");
        details.check();
        return known.details().equals(details) ? null : "millrace.customers.CustomerDetailsChanged";
    }

    private static void text(String field, String code, String value, int shortest) throws Rejected {
        if (value == null) {
            return;
        }
        int length = value.codePointCount(0, value.length());
        require(value.strip().length() >= shortest && length <= 200, code, field);
        require(value.chars().noneMatch(Character::isISOControl), code, field);
    }

    private static long digits(String phone) {
        return phone.chars().filter(Character::isDigit).count();
    }

    private static void require(boolean holds, String code, String field) throws Rejected {
        if (!holds) {
            throw new Rejected(code, field + " is refused");
        }
    }

    /** A business answer: no, and why. */
    static final class Rejected extends Exception {
        final String code;

        Rejected(String code, String message) {
            super(message, null, false, false);
            this.code = code;
        }
    }
}
